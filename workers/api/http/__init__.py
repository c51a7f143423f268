"""What routes are made of: their declaration, parameters, problems and answers, and the description of it all."""
