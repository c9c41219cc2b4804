"""Which steps a check has, by the provider of its site."""

from broker.checks.gcs import table as gcs
from broker.checks.gcs.site import GcsSite
from broker.checks.s3 import table as s3
from broker.checks.s3.site import S3Site
from broker.checks.site import Site
from broker.checks.steps import Step


def steps_of(site: Site) -> tuple[Step, ...]:
    match site:
        case S3Site():
            return s3.STEPS
        case GcsSite():
            return gcs.STEPS
    raise TypeError(f"no check knows {type(site).__name__}")
