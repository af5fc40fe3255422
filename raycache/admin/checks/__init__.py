"""What is wrong with a cache: `doctor` looks at how it runs, `fsck` at what it holds."""
