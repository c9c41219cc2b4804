"""What can go wrong with a manifest, below the tree in `uploader.errors`.

UploadFailed
└── ManifestUnusable      it is not there, not ours, newer than we are, or on a disk that does not take it
    └── ManifestBusy      another process is at work on it
"""

from uploader.errors import UploadFailed


class ManifestUnusable(UploadFailed):
    """The manifest cannot be used."""

    code = "manifest-unusable"


class ManifestBusy(ManifestUnusable):
    """Another process is at work on the manifest."""

    code = "manifest-busy"
