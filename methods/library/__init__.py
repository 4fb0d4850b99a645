"""The adaptation methods, one file each; every file registers its own (`methods.base.register`)."""
