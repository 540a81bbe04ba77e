// SPDX-License-Identifier: Apache-2.0

//! All numbers of leaf functions and their errors.

use crate::enclu::{PAGE_ATTRIBUTES_MISMATCH, leaf};

/// Makes an enum of numbers that is read back from a number.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident: $repr:ident { $($(#[$item_doc:meta])* $item:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr($repr)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$item_doc])* $item = $value,)*
        }

        impl $name {
            /// All that are known here.
            pub const ALL: &[Self] = &[$(Self::$item),*];

            /// The number.
            #[must_use]
            pub const fn number(self) -> $repr {
                self as $repr
            }

            /// The one with this number.
            #[must_use]
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some(Self::$item),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// Leaf functions of `ENCLU`, in EAX: for user programs.
    Enclu: u32 {
        /// A report for another enclave. In the enclave.
        Ereport = 0,
        /// A key. In the enclave.
        Egetkey = 1,
        /// Into the enclave. Outside.
        Eenter = 2,
        /// Back into the enclave after an asynchronous exit. Outside.
        Eresume = 3,
        /// Out of the enclave. In the enclave.
        Eexit = 4,
        /// Accepts what was done to a page. In the enclave.
        Eaccept = 5,
        /// More rights for a page. In the enclave.
        Emodpe = 6,
        /// Accepts a page that was added, with content. In the enclave.
        Eacceptcopy = 7,
        /// Checks another kind of report. In the enclave.
        Everifyreport2 = 8,
        /// Goes back to the state save area before. In the enclave.
        Edeccssa = 9,
    }
}

numbers! {
    /// Leaf functions of `ENCLS`, in EAX: for the host's kernel.
    Encls: u32 {
        /// Makes an enclave.
        Ecreate = 0,
        /// Adds a page to an enclave that does not run yet.
        Eadd = 1,
        /// Holds an enclave against its signature and lets it run.
        Einit = 2,
        /// Removes a page.
        Eremove = 3,
        /// Reads an enclave under debug.
        Edbgrd = 4,
        /// Writes an enclave under debug.
        Edbgwr = 5,
        /// Measures 256 bytes.
        Eextend = 6,
        /// Brings a page back, blocked.
        Eldb = 7,
        /// Brings a page back.
        Eldu = 8,
        /// Blocks a page.
        Eblock = 9,
        /// Makes a page of versions.
        Epa = 10,
        /// Evicts a page.
        Ewb = 11,
        /// Begins to watch threads leave.
        Etrack = 12,
        /// Adds a page to an enclave that runs.
        Eaug = 13,
        /// Takes rights of a page.
        Emodpr = 14,
        /// Changes the type of a page.
        Emodt = 15,
        /// Takes a new version of the microcode into account.
        Eupdatesvn = 24,
    }
}

numbers! {
    /// What a leaf function answers in RAX if it refuses without a fault.
    ErrorCode: u64 {
        /// `SGX_INVALID_SIG_STRUCT`: fields of the `SIGSTRUCT` have values that they cannot have.
        InvalidSigStruct = 1,
        /// `SGX_INVALID_ATTRIBUTE`: attributes are not what was signed, or are not for this enclave.
        InvalidAttribute = 2,
        /// `SGX_BLKSTATE`: the page is not in the state for it.
        BlockState = 3,
        /// `SGX_INVALID_MEASUREMENT`: another enclave was signed.
        InvalidMeasurement = 4,
        /// `SGX_NOTBLOCKABLE`.
        NotBlockable = 5,
        /// `SGX_PG_INVLD`: the page is not in use.
        PageInvalid = 6,
        /// `SGX_EPC_PAGE_CONFLICT`: another processor works on the page.
        PageConflict = 7,
        /// `SGX_INVALID_SIGNATURE`.
        InvalidSignature = 8,
        /// `SGX_MAC_COMPARE_FAIL`.
        MacCompareFail = 9,
        /// `SGX_PAGE_NOT_BLOCKED`.
        PageNotBlocked = 10,
        /// `SGX_NOT_TRACKED`: a thread may still use the page as it was.
        NotTracked = 11,
        /// `SGX_VA_SLOT_OCCUPIED`.
        VaSlotOccupied = 12,
        /// `SGX_CHILD_PRESENT`: the enclave still has pages.
        ChildPresent = 13,
        /// `SGX_ENCLAVE_ACT`: threads are in the enclave.
        EnclaveActive = 14,
        /// `SGX_ENTRYEPOCH_LOCKED`.
        EntryEpochLocked = 15,
        /// `SGX_INVALID_EINITTOKEN`: the signer may not launch here.
        InvalidEinitToken = 16,
        /// `SGX_PREV_TRK_INCMPL`.
        PreviousTrackIncomplete = 17,
        /// `SGX_PG_IS_SECS`.
        PageIsSecs = 18,
        /// `SGX_PAGE_ATTRIBUTES_MISMATCH`: the page is not what was to be accepted.
        PageAttributesMismatch = 19,
        /// `SGX_PAGE_NOT_MODIFIABLE`: an earlier change was not accepted yet.
        PageNotModifiable = 20,
        /// `SGX_PAGE_NOT_DEBUGGABLE`.
        PageNotDebuggable = 21,
        /// `SGX_INVALID_COUNTER`.
        InvalidCounter = 25,
        /// `SGX_PG_NONEPC`.
        PageNotEpc = 26,
        /// `SGX_TRACK_NOT_REQUIRED`.
        TrackNotRequired = 27,
        /// `SGX_INVALID_REPORTMACSTRUCT`.
        InvalidReportMacStruct = 28,
        /// `SGX_INSUFFICIENT_ENTROPY`.
        InsufficientEntropy = 29,
        /// `SGX_EPC_NOT_READY`.
        EpcNotReady = 30,
        /// `SGX_NO_UPDATE`.
        NoUpdate = 31,
        /// `SGX_INVALID_CPUSVN`: a version that this processor has not reached.
        InvalidCpuSvn = 32,
        /// `SGX_INVALID_ISVSVN`: a version that this enclave has not reached.
        InvalidIsvSvn = 64,
        /// `SGX_UNMASKED_EVENT`: an interrupt; to be tried again.
        UnmaskedEvent = 128,
        /// `SGX_INVALID_KEYNAME`.
        InvalidKeyName = 256,
    }
}

// A Keep has its own list of the few that it uses.
const _: () = {
    assert!(Enclu::Ereport as u32 == leaf::EREPORT && Enclu::Egetkey as u32 == leaf::EGETKEY);
    assert!(Enclu::Eaccept as u32 == leaf::EACCEPT && Enclu::Emodpe as u32 == leaf::EMODPE);
    assert!(Enclu::Eacceptcopy as u32 == leaf::EACCEPTCOPY);
    assert!(ErrorCode::PageAttributesMismatch as u64 == PAGE_ATTRIBUTES_MISMATCH);
};
