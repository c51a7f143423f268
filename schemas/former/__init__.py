"""What events were in older versions, kind by kind, and how each becomes the next. Written by no worker any more."""
