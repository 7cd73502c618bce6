"""The plaintext of a sealed answer: the proto message `Answer`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from crypto.errors import EncodingInvalid
from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1 import statement_pb2 as statement
from node.model.transfer import Answer


class ProtoAnswers:
    """How answers are spelled (node.exchange.context.AnswerCodec)."""

    def encode(self, answer: Answer) -> bytes:
        """The bytes to seal."""
        return pb.Answer(
            record=answer.record,
            salt=answer.salt,
            proof=statement.InclusionProof(index=answer.index, size=answer.size, path=answer.path),
            granted_values=answer.granted_values,
            leaf_hash=answer.leaf_hash,
        ).SerializeToString()

    def decode(self, raw: bytes) -> Answer:
        """The answer in opened bytes. Raises EncodingInvalid."""
        try:
            message = pb.Answer.FromString(raw)
        except DecodeError as cause:
            raise EncodingInvalid("the opened answer is not a message") from cause
        return Answer(
            leaf_hash=message.leaf_hash,
            index=message.proof.index,
            size=message.proof.size,
            path=tuple(message.proof.path),
            record=message.record,
            salt=message.salt,
            granted_values=message.granted_values,
        )
