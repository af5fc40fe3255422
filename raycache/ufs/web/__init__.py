"""Read-only lakes behind HTTP: plain files of `https://` (`web_storage`), repositories of the Hugging Face Hub (`hub_storage`)."""
