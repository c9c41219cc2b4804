"""All steps of a check in S3, in order. The order is part of what people read, the codes of what scripts read."""

from broker.checks import browser_steps, clock_step, event_step, tamper_steps, upload_steps
from broker.checks.s3 import (
    keeping_steps,
    missing_step,
    multipart_steps,
    reach_steps,
    rights_steps,
    settings_steps,
    unsigned_steps,
)
from broker.checks.s3.site import HEAD, PUT

STEPS = (
    *clock_step.STEPS,
    *reach_steps.STEPS,
    *upload_steps.steps(PUT, HEAD),
    *missing_step.STEPS,
    *keeping_steps.STEPS,
    *tamper_steps.steps(PUT, HEAD),
    *unsigned_steps.STEPS,
    *multipart_steps.STEPS,
    *keeping_steps.STEPS_IN_PARTS,
    *rights_steps.STEPS,
    *browser_steps.steps(PUT),
    *settings_steps.STEPS,
    *event_step.STEPS,
)
