//! Numbers that stand for things, each an index into some list.

/// Declares an index type.
macro_rules! index {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// As an index.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// A port, by DPDK's number for it.
    PortId(u16)
}

index! {
    /// A worker, counted from 0: the lcores in the order in which DPDK lists them.
    WorkerId(u16)
}

index! {
    /// Which service, as an index into the snapshot's services.
    ServiceId(u16)
}

index! {
    /// Which backend of which service, as an index into the snapshot's backends. The same host in two services has two.
    ///
    /// The control side hands the numbers out and keeps them: one in a connection's record means the same backend for as
    /// long as any connection has it, whatever is added or removed around it.
    BackendId(u32)
}

impl WorkerId {
    /// The worker that also asks and answers for all: it resolves next hops and announces addresses.
    pub const FIRST: Self = Self(0);
}
