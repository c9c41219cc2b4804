"""All steps of a check, in order. The order is part of what people read; the codes are part of what scripts read."""

from broker.checks import (
    browser_steps,
    event_step,
    keeping_steps,
    multipart_steps,
    reach_steps,
    rights_steps,
    settings_steps,
    tamper_steps,
    unsigned_steps,
    upload_steps,
)

STEPS = (
    *reach_steps.STEPS,
    *upload_steps.STEPS,
    *keeping_steps.STEPS,
    *tamper_steps.STEPS,
    *unsigned_steps.STEPS,
    *multipart_steps.STEPS,
    *keeping_steps.STEPS_IN_PARTS,
    *rights_steps.STEPS,
    *browser_steps.STEPS,
    *settings_steps.STEPS,
    *event_step.STEPS,
)
