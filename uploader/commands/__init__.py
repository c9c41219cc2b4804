"""The commands of `uploader`, a module for each that has much to say."""
