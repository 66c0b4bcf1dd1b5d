//! What is known of one endpoint's load, shared by the callers that add to it and the policies that
//! read it.
