//! What a conversation says: one pure parser for each protocol, fed with the heads of payloads.
