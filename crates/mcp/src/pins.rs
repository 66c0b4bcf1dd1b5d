//! The first definitions of mounted tools, which a changed one has to be approved against.
