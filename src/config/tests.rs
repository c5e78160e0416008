//! Every refusal names its key.
