"""What a worker asks of the signatures of messages: nothing, what there is, or all.

Rule of this module: a policy that cannot be kept is an error, and never a weaker policy.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from stem_core.contracts.messages import Message
from stem_core.contracts.signer import Signer
from stem_core.model.errors import ConfigError
from stem_core.model.seal import TASK, Seal

__all__ = ["SigningPolicy", "caution", "policy_of", "vet"]

SigningPolicy: TypeAlias = Literal["off", "accept", "require"]
"""``require``: who vouches for a message is asked before it is read, and nobody is no answer.
``accept``: the same for messages that are signed; the others run too. ``off``: nothing is
verified."""


def policy_of(asked: SigningPolicy | None, signer: Signer | None) -> SigningPolicy:
    """Return the policy of a worker that was *asked* for one; without, keys decide.

    Raises:
        ConfigError: it cannot verify, and was asked to.
    """
    if asked is None:
        return "off" if signer is None else "require"
    if asked not in get_args(SigningPolicy):
        raise ConfigError(f"the signing policy {asked!r} is none of off, accept, require")
    if signer is None and asked != "off":
        raise ConfigError(
            f"the signing policy is {asked}, and there is no key to verify with",
            way_out="Set STEM_SIGNER_URL or STEM_SIGNING_*; a public key is enough to verify.",
        )
    return asked


def caution(policy: SigningPolicy, signer: Signer | None) -> str:
    """Return what an operator should read at each start; empty when all is verified."""
    if signer is None or policy == "require":
        return ""
    if policy == "accept":
        return (
            "the signing policy is accept: messages that nobody signed run too, so who can "
            "write to the broker can run tasks. Set it to require when all producers sign"
        )
    return "the signing policy is off: there are keys, and no signature is verified"


def vet(signer: Signer | None, policy: SigningPolicy | None, message: Message) -> bool:
    """Return whether a key vouches for the body of *message*; without *policy*, as `policy_of`.

    Raises:
        SignatureMissing, SignatureInvalid: the policy asks for a signature, and there is
            none that counts.
    """
    if signer is None or policy == "off":
        return False
    seal = Seal(message.algorithm, message.key_id, message.signature)
    if policy == "accept" and seal.is_empty:
        return False
    signer.verify(TASK, message.body, seal)
    return True
