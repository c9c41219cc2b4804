"""The roof: the only place that knows which adapter exists. Resources open on one AsyncExitStack.

- `house` – everything together: `open_house` for a process, `open_revive` for an operator.
- `looking`, `minting` – the use cases that are made of many.
- `polling` – what a process is that polls; `queues` puts its pollers together.
- `providers` – which adapter serves a destination or a source; `s3` puts the one of S3 together.
- `accounts`, `credentials` – what the secret of an account says, and with what each right is held and renewed.
- `checks` – what `upload-broker check` works on.
- `setup` – what is known of a destination that somebody sets up.
- `ledger`, `keys`, `webhooks` – from the settings of each to what the use cases take.
"""

from broker.wiring.checks import CheckOptions, Listening, Untried, open_benches
from broker.wiring.house import House, Upkeep, open_house, open_revive
from broker.wiring.keys import ConfiguredKeys, api_keys_of
from broker.wiring.ledger import open_ledger
from broker.wiring.polling import PollingHouse, open_polling
from broker.wiring.setup import terms_of
from broker.wiring.setup_gcs import gcs_terms_of
from broker.wiring.webhooks import ConfiguredWebhook, webhooks_of

__all__ = [
    "CheckOptions",
    "ConfiguredKeys",
    "ConfiguredWebhook",
    "House",
    "Listening",
    "PollingHouse",
    "Untried",
    "Upkeep",
    "api_keys_of",
    "gcs_terms_of",
    "open_benches",
    "open_house",
    "open_ledger",
    "open_polling",
    "open_revive",
    "terms_of",
    "webhooks_of",
]
