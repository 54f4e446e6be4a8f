"""A check's message is read as protobuf reads it, but for the copy of its photo."""

from __future__ import annotations

import pytest
from facequality.rpc.messages import CheckMessage
from facequality.v1 import face_quality_service_pb2 as pb
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

MESSAGES = st.builds(
    pb.CheckFaceQualityRequest,
    policy=st.text(max_size=5),
    options=st.builds(pb.DetectOptions, max_face_num=st.integers(0, 200), face_model_version=st.text(max_size=3)),
)
PHOTOS = st.one_of(
    st.builds(pb.CheckFaceQualityRequest, image=st.binary(max_size=300)),
    st.builds(pb.CheckFaceQualityRequest, uri=st.text(max_size=10)),
)
SERIALISED = st.lists(st.one_of(MESSAGES, PHOTOS).map(lambda message: message.SerializeToString()), max_size=4).map(b"".join)


def by_protobuf(raw: bytes) -> pb.CheckFaceQualityRequest | None:
    try:
        return pb.CheckFaceQualityRequest.FromString(raw)
    except DecodeError:
        return None


def by_view(raw: bytes) -> pb.CheckFaceQualityRequest | None:
    try:
        message = CheckMessage.parse(raw)
    except DecodeError:
        return None
    whole = message.fields
    if message.image is not None:
        assert whole.WhichOneof("photo") is None
        whole.image = bytes(message.image)
    return whole


@given(SERIALISED)
@example(b"")
@example(pb.CheckFaceQualityRequest(image=b"").SerializeToString() + b"\x0a\x00")
def test_any_sequence_of_fields_is_what_protobuf_makes_of_it(raw: bytes) -> None:
    """Messages joined are one message: of photos given twice the last one counts."""
    assert by_view(raw) == by_protobuf(raw)


@given(
    st.one_of(
        st.binary(max_size=40), st.binary(max_size=40).map(lambda rest: b"\x0a" + rest), SERIALISED.map(lambda raw: raw[:-1])
    )
)
@example(b"\x0a")
@example(b"\x0a\x05abc")
@example(b"\x0a\x83\x80\x00abc")
@example(b"\x0a\x83\x80\x80\x80\x00abc")
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_any_bytes_are_what_protobuf_makes_of_them(raw: bytes) -> None:
    """The same message, or none to either."""
    assert by_view(raw) == by_protobuf(raw)


@pytest.mark.parametrize("policy", ["", "strict"])
@pytest.mark.parametrize("size", [1, 127, 128, 16_384, 3_700_000])
def test_a_photo_that_comes_first_is_not_copied(size: int, policy: str) -> None:
    """It lies where it was received, also where nothing follows it."""
    raw = pb.CheckFaceQualityRequest(image=bytes(size), policy=policy).SerializeToString()
    message = CheckMessage.parse(raw)
    assert message.image is not None
    assert message.image.obj is raw
    assert (len(message.image), message.fields.policy, message.fields.image) == (size, policy, b"")


def test_a_photo_does_not_keep_alive_what_a_message_is_padded_with() -> None:
    """A photo may outlive its call, and with it no more than the call was charged for."""
    unknown_field = b"\xfa\x3f\xa0\x8d\x06" + bytes(100_000)
    message = CheckMessage.parse(pb.CheckFaceQualityRequest(image=b"photo").SerializeToString() + unknown_field)
    assert message.image is not None
    assert message.image.obj == b"photo"
