"""What a consumer does with a job."""

from broker.api import examples
from broker.api.auth import KeyOf
from broker.api.operations.shape import BODY_PROBLEMS, SIGNING_PROBLEMS, Body, Operation, Reply
from broker.contract import (
    JobState,
    LeasedJobs,
    LeaseRequest,
    ReleaseRequest,
    RenewedLease,
    RenewRequest,
    ResultRequest,
)
from broker.domain import errors
from broker.domain.principals import ApiKey, Role

LEASE: Operation[ApiKey] = Operation(
    id="leaseJobs",
    method="POST",
    path="/jobs/lease",
    tag="jobs",
    summary="Lease verified uploads to process",
    text="A long poll: answers as soon as there is work, else after `wait_seconds` with none. A key with "
    "`destinations` is given only jobs that it can read from these, and only those it may renew, finish and release.",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=LeaseRequest, is_required=False, example=examples.LEASE),
    replies=(Reply(status=200, text="Leased jobs, perhaps none", kind=LeasedJobs, example=examples.LEASED),),
    problems=BODY_PROBLEMS,
)

RENEW: Operation[ApiKey] = Operation(
    id="renewLease",
    method="POST",
    path="/jobs/{job_id}/renew",
    tag="jobs",
    summary="Keep a lease, with a fresh read",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=RenewRequest, example=examples.RENEW),
    replies=(Reply(status=200, text="The lease, longer", kind=RenewedLease, example=examples.RENEWED),),
    problems=(*BODY_PROBLEMS, errors.LeaseLost, errors.UnknownDestination, *SIGNING_PROBLEMS),
)

RESULT: Operation[ApiKey] = Operation(
    id="finishJob",
    method="POST",
    path="/jobs/{job_id}/result",
    tag="jobs",
    summary="Report how a job ended",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=ResultRequest, example=examples.RESULT),
    replies=(Reply(status=200, text="Where the session stands now", kind=JobState, example=examples.FINISHED),),
    problems=(*BODY_PROBLEMS, errors.ResultTooLarge, errors.LeaseLost),
)

RELEASE: Operation[ApiKey] = Operation(
    id="releaseJob",
    method="POST",
    path="/jobs/{job_id}/release",
    tag="jobs",
    summary="Give a job back, not counted as a failure",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=ReleaseRequest, example=examples.RELEASE),
    replies=(Reply(status=200, text="Where the session stands now", kind=JobState, example=examples.RELEASED),),
    problems=(*BODY_PROBLEMS, errors.LeaseLost),
)
