//! Made-up file systems.
