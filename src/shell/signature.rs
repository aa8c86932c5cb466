//! Signed control messages: whose word it is, shown and not only said.
//!
//! Whoever may write to the control topic can say `by: ana`. With `control.require_signature` a message counts only if
//! its header carries an Ed25519 signature of the payload, byte for byte, by a key that the configuration gives to that
//! name. A signature says nothing about when: a message sent again says the same again, about the same recommendation
//! or window. One set of keys for each cluster, then a message of one says nothing in another.

use super::config::Control;
use crate::engine::event::Fact;
use crate::wire::inbound::{RejectReason, Rejected};
use ed25519_dalek::Signature;

/// Whether all that a message says is signed by who says it.
///
/// # Errors
/// Why it does not count, as a dead letter says it.
pub fn verify(control: &Control, facts: &[Fact], payload: &[u8], signature: Option<&[u8]>) -> Result<(), Rejected> {
    if !control.require_signature {
        return Ok(());
    }
    let Some(signature) = signature else {
        let detail = "no header regressd-signature, and control.require_signature is set";
        return Err(Rejected::new(RejectReason::Unsigned, detail));
    };
    let Some(signature) = read_hex(signature).map(|bytes| Signature::from_bytes(&bytes)) else {
        return Err(Rejected::new(RejectReason::BadSignature, "regressd-signature: not 128 hexadecimal digits"));
    };
    // One signature for the whole message: all of its elements are of one person.
    let said = facts.iter().filter_map(|fact| match fact {
        Fact::Control(word) => Some(word.by.as_deref().unwrap_or_default()),
        _ => None,
    });
    for by in said {
        let mut keys = control.keys.iter().filter(|key| key.by == by).peekable();
        if keys.peek().is_none() {
            let detail = "by: control.keys has no key of this name";
            return Err(Rejected::new(RejectReason::UnknownSigner, detail));
        }
        if !keys.any(|key| key.key.verify_strict(payload, &signature).is_ok()) {
            let detail = "the signature does not fit the payload and the key of its `by`";
            return Err(Rejected::new(RejectReason::BadSignature, detail));
        }
    }
    Ok(())
}

/// Bytes from as many pairs of hexadecimal digits, no more and no fewer.
pub fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::ControlKey;
    use crate::wire::inbound::{Kind, decode};
    use ed25519_dalek::{Signer, SigningKey};

    fn word(by: &str) -> String {
        format!(r#"{{"ts":1790000000000,"type":"approval","recommendation":"r","decision":"approved","by":"{by}"}}"#)
    }

    fn signed(seed: u8, payload: &str) -> Vec<u8> {
        let signature = SigningKey::from_bytes(&[seed; 32]).sign(payload.as_bytes());
        signature.to_bytes().iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
    }

    fn reason(payload: &str, signature: Option<&[u8]>) -> Option<RejectReason> {
        let key =
            |by: &str, seed| ControlKey { by: by.into(), key: SigningKey::from_bytes(&[seed; 32]).verifying_key() };
        // Two of hers, while she goes from the one to the other.
        let keys = vec![key("ana", 1), key("ana", 2), key("bo", 3)];
        let control = Control { require_signature: true, keys };
        let mut facts = Vec::new();
        decode(Kind::Control, payload.as_bytes(), &mut facts).expect("a word");
        verify(&control, &facts, payload.as_bytes(), signature).err().map(|rejected| rejected.reason)
    }

    #[test]
    fn only_who_signed_it_has_said_it() {
        let ana = word("ana");
        for seed in [1, 2] {
            assert_eq!(reason(&ana, Some(&signed(seed, &ana))), None);
        }
        assert_eq!(reason(&ana, None), Some(RejectReason::Unsigned));
        assert_eq!(reason(&ana, Some(&signed(3, &ana))), Some(RejectReason::BadSignature));
        assert_eq!(reason(&ana, Some(&signed(1, &word("bo")))), Some(RejectReason::BadSignature));
        assert_eq!(reason(&ana, Some(b"short")), Some(RejectReason::BadSignature));
        let eve = word("eve");
        assert_eq!(reason(&eve, Some(&signed(1, &eve))), Some(RejectReason::UnknownSigner));
        let both = format!("[{},{}]", word("ana"), word("bo"));
        assert_eq!(reason(&both, Some(&signed(1, &both))), Some(RejectReason::BadSignature));
        let hers = format!("[{},{}]", word("ana"), word("ana"));
        assert_eq!(reason(&hers, Some(&signed(1, &hers))), None);
    }

    #[test]
    fn hexadecimal_digits_are_read_whole_or_not_at_all() {
        assert_eq!(read_hex(b"00fFa1"), Some([0, 255, 161]));
        for text in [&b"00ff"[..], b"00ffa1a1", b"00ffg1", b"+1ffa1"] {
            assert_eq!(read_hex::<3>(text), None);
        }
    }
}
