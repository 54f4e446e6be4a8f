"""The use case: a photo in, a verdict out. One policy snapshot per check; a photo that breaks a limit is never paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from facequality.detector import Detector, DetectorInfo
from facequality.evaluation import evaluate, evaluate_refusal
from facequality.image import ImageInfo, inspect
from facequality.model import (
    Detection,
    DetectOptions,
    Finding,
    Judgement,
    Photo,
    PhotoBytes,
    PhotoRefused,
)
from facequality.photo_uri import UriRules, check_uri
from facequality.policy import Policy, PolicySet


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """One photo to judge; an empty policy name is the default one."""

    photo: Photo
    policy: str = ""
    options: DetectOptions = field(default_factory=DetectOptions)


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """What the policy's shadow would have said of the same detection."""

    policy: Policy
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The verdict on one photo and everything it rests on. Holds no image bytes."""

    judgement: Judgement
    policy: Policy
    detector: DetectorInfo
    image: ImageInfo | None
    """What the header told; None for a URI or an unreadable photo."""
    answer: Detection | PhotoRefused | None = None
    """What the detector answered; None if it was not called."""
    judged_face: int | None = None
    faces: tuple[Judgement | None, ...] = ()
    shadow: ShadowResult | None = None

    @property
    def refused_locally(self) -> bool:
        """Whether the photo was refused before a detector was called."""
        return self.answer is None


CheckObserver = Callable[[CheckResult], None]


class Gate:
    """Holds photos against policies."""

    def __init__(
        self,
        policies: Callable[[], PolicySet],
        detector: Detector,
        *,
        uri_rules: UriRules | None = None,
        observers: tuple[CheckObserver, ...] = (),
        on_unjudged: Callable[[Policy, ImageInfo | None], None] = lambda *_: None,
    ) -> None:
        """``policies`` gives the snapshot of the moment; ``observers`` see each finished check.

        ``on_unjudged`` is told the policy and the image of each check whose detector call failed or was cancelled.
        """
        self._policies = policies
        self._detector = detector
        self._uri_rules = uri_rules or UriRules()
        self._observers = observers
        self._on_unjudged = on_unjudged

    @property
    def detector(self) -> DetectorInfo:
        """The live detector."""
        return self._detector.info

    async def check(self, request: CheckRequest) -> CheckResult:
        """Judge one photo.

        Raises:
            PolicyNotFound: no policy has the requested name.
            InvalidRequest: the photo's URI is refused, or the detector does not take the photo or an option.
            DetectorError: the detector could not judge the photo.
            Overloaded: the detector has no room for the call.
            DeadlineExceeded: the call's time is spent.
        """
        snapshot = self._policies()
        policy = snapshot.get(request.policy)
        result = await self._check(request, policy, snapshot.get(policy.shadow) if policy.shadow else None)
        for observe in self._observers:
            observe(result)
        return result

    async def _check(self, request: CheckRequest, policy: Policy, shadow: Policy | None) -> CheckResult:
        findings: tuple[Finding, ...] = ()
        image: ImageInfo | None = None
        if isinstance(request.photo, PhotoBytes):
            inspection = inspect(request.photo.data)
            image, findings = inspection.info, inspection.findings
        else:
            check_uri(request.photo.uri, self._uri_rules)
        detector = self._detector.info
        if any(finding.rejects for finding in findings):
            return CheckResult(Judgement.of(findings), policy, detector, image)
        # One call serves both policies: it asks for what either needs.
        options = _options(request.options, policy)
        try:
            answer = await self._detector.detect(request.photo, _options(options, shadow) if shadow else options)
        except BaseException:
            self._on_unjudged(policy, image)
            raise
        if isinstance(answer, PhotoRefused):
            refused = answer.findings or evaluate_refusal(policy, answer.reason, findings)
            measures = {finding.measure for finding in refused}
            # What the detector refuses is no pass, whatever was found here.
            others = tuple(finding for finding in findings if finding.measure not in measures)
            return CheckResult(Judgement.of(others + refused), policy, detector, image, answer)
        evaluation = evaluate(policy, answer)
        return CheckResult(
            Judgement.of(findings + evaluation.findings),
            policy,
            detector,
            image,
            answer,
            judged_face=evaluation.judged_face,
            faces=evaluation.faces,
            shadow=_shadow(shadow, answer, findings) if shadow else None,
        )


def _shadow(policy: Policy, answer: Detection, findings: tuple[Finding, ...]) -> ShadowResult:
    return ShadowResult(policy, Judgement.of(findings + evaluate(policy, answer).findings))


def _options(asked: DetectOptions, policy: Policy) -> DetectOptions:
    """Add what the policy needs to what the caller asked for."""
    return replace(
        asked,
        max_face_num=max(asked.max_face_num, policy.face_rule.faces_needed),
        need_face_attributes=asked.need_face_attributes or policy.needs_attributes,
    )
