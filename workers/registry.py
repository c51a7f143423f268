"""The aggregates, projections and reactions that a worker serves, as this package asks for them."""

from annals.agents.registered import GROUP, KIND, RegistrationError, deciders, projections, reactions, registration_of

__all__ = ["GROUP", "KIND", "RegistrationError", "deciders", "projections", "reactions", "registration_of"]
