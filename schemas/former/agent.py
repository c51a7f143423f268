"""agent's events in their older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.agent import MaxTokens, ModelConfigured, Temperature
from annals.schemas.messages import Message
from annals.schemas.values.fields import Prompt, Score, Url

if TYPE_CHECKING:
    from collections.abc import Mapping

# The model's name was printable ASCII of at most 200 characters.
QualifiedModel = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}/[!-~](?:[ -~]{0,198}[!-~])?$(?!\n)",
        description="a provider's slug, a slash and the provider's name of the model",
    ),
]


class ModelConfigured1(Message):
    """What it thinks with from then on."""

    model: QualifiedModel
    temperature: Temperature | UnsetType = UNSET
    top_p: Score | UnsetType = UNSET
    max_tokens: MaxTokens | UnsetType = UNSET
    endpoint: Url | UnsetType = UNSET
    prompt: Prompt | UnsetType = UNSET


def split_model(data: dict[str, Any]) -> dict[str, Any]:
    """The provider, which stood before the first slash, gets a member of its own."""
    provider, _, model = data["model"].partition("/")
    return {**data, "provider": provider, "model": model}


UPCASTERS: Final[Mapping[type[Message], tuple[Upcast, ...]]] = {
    ModelConfigured: (Upcast(ModelConfigured1, split_model),),
}
