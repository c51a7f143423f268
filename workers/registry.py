"""The aggregates and projections that a worker serves, under the name by which this package asks for them."""

from annals.agents.registered import GROUP, KIND, RegistrationError, deciders, projections, registration_of

__all__ = ["GROUP", "KIND", "RegistrationError", "deciders", "projections", "registration_of"]
