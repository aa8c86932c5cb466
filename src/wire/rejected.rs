//! Why a message could not be taken: the closed list of reasons, and one for this message in words for a person.
//!
//! The reason is the dead letter's header and the metric's label. The detail names the field and, in an array, the
//! element; it never repeats a value that could be a secret, only the short words of the topics' own vocabulary.

use super::text::clipped;

words! {
    /// Why a whole message went to the dead letters.
    pub enum RejectReason {
        /// No payload at all: a tombstone, or only white space.
        Empty = "empty",
        /// Larger than the configured limit; not read.
        TooLarge = "too_large",
        NotUtf8 = "not_utf8",
        NotJson = "not_json",
        /// A format we know by sight and do not read on this topic.
        UnsupportedFormat = "unsupported_format",
        /// A field, an element or the whole document has another type than it should.
        WrongType = "wrong_type",
        MissingField = "missing_field",
        /// A field that must not be empty is.
        EmptyField = "empty_field",
        /// A field or a label stands there twice: nobody can tell which one was meant.
        DuplicateField = "duplicate_field",
        /// Not a moment between 2000 and 2100 in milliseconds; units are never guessed.
        BadTimestamp = "bad_timestamp",
        /// NaN, an infinity, or a number too large to be told from one.
        NotFinite = "not_finite",
        /// A count or a total below zero.
        Negative = "negative",
        /// Bounds that do not ascend, or counts that do not fit them.
        BadHistogram = "bad_histogram",
        UnknownSeverity = "unknown_severity",
        /// A word outside its field's list.
        UnknownWord = "unknown_word",
        /// A window that ends before it begins.
        BadWindow = "bad_window",
        /// A word of control without the signature that is asked for.
        Unsigned = "unsigned",
        /// Nobody of that name has a key.
        UnknownSigner = "unknown_signer",
        /// Not a signature, or not of this payload by this person's key.
        BadSignature = "bad_signature",
        /// It broke the daemon when it was taken before, and is not taken again.
        Poison = "poison",
        /// A text above its limit.
        TooLong = "too_long",
        /// A list above its limit.
        TooMany = "too_many",
    }
}

/// A message that can't be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub reason: RejectReason,
    /// For a person: what is wrong, where; never a secret's value. At most [`Rejected::DETAIL_BYTES_MAX`] bytes.
    pub detail: String,
}

impl Rejected {
    pub const DETAIL_BYTES_MAX: usize = 500;

    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Rejected {
        let mut detail = detail.into();
        detail.truncate(clipped(&detail, Rejected::DETAIL_BYTES_MAX).len());
        Rejected { reason, detail }
    }

    /// The same, said of the `index`th element of an array.
    pub(super) fn in_element(self, index: usize) -> Rejected {
        Rejected::new(self.reason, format!("[{index}].{}", self.detail))
    }
}
