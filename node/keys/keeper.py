"""What keeps keys: a store in this process (`node.keys.store`), or another process that has one (`node.keys.agent_client`)."""

from __future__ import annotations

from typing import Protocol

from crypto.signer import Decrypter, Signer
from node.keys.manifest import KeyRecord, Manifest
from node.keys.material import HashSigner
from node.model.keys import Kind, Mode


class Keeper(Protocol):
    """Keys of some kinds, each step of whose rotation is durable on return. Numbers count the keys of a kind from 1."""

    @property
    def manifest(self) -> Manifest:
        """Every key with its state, and the rotation under way."""

    def signer(self, number: int) -> Signer:
        """The signing key of this number."""

    def decrypter(self, number: int) -> Decrypter:
        """The encryption key of this number."""

    def account(self, number: int) -> HashSigner:
        """The account's key of this number."""

    def begin(self, kind: Kind, mode: Mode) -> Manifest:
        """Begin a rotation. Raises RotationUnderWay."""

    def prepare(self) -> KeyRecord:
        """Make the next key of the rotation under way; gives its record."""

    def commit(self) -> Manifest:
        """Take the rotation to its commit point."""

    def activate(self) -> Manifest:
        """Put the next key in the active one's place; the rotation is over."""

    def undo(self) -> Manifest:
        """Forget the rotation, and destroy the next key."""

    def retire(self, kind: Kind, number: int) -> Manifest:
        """A retiring key is used no more."""

    def compromise(self, kind: Kind, number: int) -> Manifest:
        """A key that is not active counts as in others' hands."""
