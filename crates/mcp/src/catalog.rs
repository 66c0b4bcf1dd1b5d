//! Which services and methods are tools, kept up to date.
