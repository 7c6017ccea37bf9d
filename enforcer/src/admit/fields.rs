//! Extension fields at the end of a record. Each field has a kind and a length, so that a release can skip the fields
//! that it does not know.
//!
//! A field is its kind (two bytes), its length (four) and its content, all little-endian. Kind 0 ends the list, so
//! zeros may follow. A kind with [`CRITICAL`] must be known: a release that does not know it must reject the record.

/// Marks a kind of field that must not be skipped.
pub(crate) const CRITICAL: u16 = 1 << 15;

/// A field as stored in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub(crate) kind: u16,
    pub(crate) content: Vec<u8>,
}

impl Field {
    /// Whether a release that does not know the kind must reject the record.
    pub(crate) fn is_critical(&self) -> bool {
        self.kind & CRITICAL != 0
    }
}

/// Appends a field.
pub(crate) fn write(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    bytes.extend(kind.to_le_bytes());
    // Records have a limit far below four gigabytes.
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
}

/// Every field up to the end of the list. `None` if one is truncated.
pub(crate) fn read(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while let Some((kind, rest)) = bytes.split_first_chunk() {
        let kind = u16::from_le_bytes(*kind);
        if kind == 0 {
            return Some(fields);
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        fields.push(Field { kind, content: content.to_vec() });
        bytes = rest;
    }
    bytes.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn fields_are_read_up_to_the_end_and_a_cut_one_is_none() {
        let mut bytes = Vec::new();
        write(&mut bytes, 3, b"three");
        write(&mut bytes, CRITICAL | 4, b"");
        let fields = read(&bytes).unwrap();
        assert_eq!(
            fields.iter().map(|field| (field.kind, field.is_critical())).collect::<Vec<_>>(),
            [(3, false), (CRITICAL | 4, true)]
        );
        let padded = [&bytes[..], &[0; 9]].concat();
        assert_eq!(read(&padded).unwrap(), fields);
        for length in 1..bytes.len() {
            let cut = read(bytes.get(..length).unwrap());
            assert!(cut.is_none_or(|cut| length == 11 && cut.len() == 1), "length {length}");
        }
    }
}
