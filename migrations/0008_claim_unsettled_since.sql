-- Since when the refresh token of a claim may be out. A provider's grace window runs from the first presentation: whoever
-- takes over from an attempt that vanished needs to know when that was, however many vanished in between.

-- NULL: written by the program before this one, which does not know it; then claim_since is the best there is.
ALTER TABLE oauth_tokens ADD COLUMN claim_unsettled_since timestamptz;
