//! Wrapper.
