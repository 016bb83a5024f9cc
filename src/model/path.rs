//! Paths as snapshots have them: single names, from the root down.

/// The names put together, each after a slash; empty for the root.
pub fn joined<N: AsRef<[u8]>>(names: &[N]) -> Vec<u8> {
    names.iter().flat_map(|name| [b"/", name.as_ref()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn each_name_follows_a_slash() {
        assert_eq!(joined::<&[u8]>(&[]), b"");
        assert_eq!(joined(&[&b"home"[..], b"caf\xe9"]), b"/home/caf\xe9");
        assert_eq!(joined(&[b"a".to_vec(), b"b\nc".to_vec()]), b"/a/b\nc");
    }
}
