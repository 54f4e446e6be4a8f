"""The service: translation, nothing else."""

from __future__ import annotations

from facequality.gate import Gate
from facequality.guidance import negotiate
from facequality.reload import PolicyStore
from facequality.rpc.handlers import Context
from facequality.rpc.messages import CheckMessage
from facequality.rpc.translation import to_policy, to_reload_failure, to_request, to_response
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc


class FaceQualityServicer(pb_grpc.FaceQualityServiceServicer):
    """Answers FaceQualityService by a gate."""

    def __init__(self, gate: Gate, store: PolicyStore) -> None:
        """Answer by this gate, and by what is served."""
        self._gate = gate
        self._store = store

    async def CheckFaceQuality(  # type: ignore[override] # its messages are parsed by CheckMessage
        self, request: CheckMessage, context: Context
    ) -> pb.CheckFaceQualityResponse:
        """Judge one photo."""
        check = to_request(request)
        # Only the check holds the photo.
        del request
        metadata = dict(context.invocation_metadata() or ())
        language = negotiate(str(metadata.get("accept-language", "")))
        return to_response(await self._gate.check(check), language)

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        """Show one policy."""
        served = self._store()
        return pb.GetPolicyResponse(
            policy=to_policy(served.get(request.name), served, self._gate.detector),
            last_failed_reload=to_reload_failure(self._store.last_failure),
        )

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        """Show every policy."""
        served = self._store()
        return pb.ListPoliciesResponse(
            policies=[to_policy(served.policies[name], served, self._gate.detector) for name in sorted(served.policies)],
            default_policy=served.default,
            last_failed_reload=to_reload_failure(self._store.last_failure),
        )
