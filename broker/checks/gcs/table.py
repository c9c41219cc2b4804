"""All steps of a check in Cloud Storage, in order. The order is part of what people read, the codes of what scripts
read."""

from broker.checks import browser_steps, clock_step, event_step, tamper_steps, upload_steps
from broker.checks.gcs import identity_steps, resumable_steps, rights_steps, settings_steps, unsigned_steps
from broker.checks.gcs.site import HEAD, PUT

STEPS = (
    *clock_step.STEPS,
    *identity_steps.STEPS,
    *upload_steps.steps(PUT, HEAD),
    *tamper_steps.steps(PUT, HEAD),
    *unsigned_steps.STEPS,
    *resumable_steps.STEPS,
    *rights_steps.STEPS,
    *browser_steps.steps(PUT),
    *settings_steps.STEPS,
    *event_step.STEPS,
)
