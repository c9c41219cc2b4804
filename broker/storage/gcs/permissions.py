"""What each right on a bucket takes, and what the broker's own identity may do with who has it: said once, for what
is printed and for what is checked.

Permissions after "IAM permissions for JSON methods" and "IAM permissions for XML methods" (Cloud Storage), and "Roles
for service account authentication" (IAM).
"""

from collections.abc import Mapping
from typing import Final, Literal

Account = Literal["writer", "reader", "janitor"]

CREATE: Final = "storage.objects.create"
GET: Final = "storage.objects.get"
LIST: Final = "storage.objects.list"
DELETE: Final = "storage.objects.delete"

_TOKEN, _SIGN = "iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.signBlob"
# The janitor signs nothing.
IMPERSONATION: Final[Mapping[Account, tuple[str, ...]]] = {
    "writer": (_TOKEN, _SIGN),
    "reader": (_TOKEN, _SIGN),
    "janitor": (_TOKEN,),
}
DELEGATION: Final = ("iam.serviceAccounts.implicitDelegation",)  # of a link in a chain of delegates
