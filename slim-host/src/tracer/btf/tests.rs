use super::*;

/// struct outer { int a; union { struct { int b; int c; }; }; int bits : 3 at bit 99; }
fn fixture() -> Vec<u8> {
    let strings = b"\0int\0outer\0a\0b\0c\0bits\0ONE\0run\0";
    let name = |text: &str| {
        let needle = [text.as_bytes(), b"\0"].concat();
        strings.windows(needle.len()).position(|window| window == needle).unwrap() as u32
    };
    let structure = |kind: u32, flag: u32, vlen: u32| flag << 31 | kind << 24 | vlen;
    let words = [
        vec![name("int"), KIND_INT << 24, 4, 32], // 1
        vec![0, structure(KIND_STRUCT, 0, 2), 8, name("b"), 1, 0, name("c"), 1, 32], // 2
        vec![0, structure(KIND_UNION, 0, 1), 8, 0, 2, 0], // 3
        vec![0, KIND_CONST << 24, 3],             // 4
        vec![
            name("outer"),
            structure(KIND_STRUCT, 1, 3),
            16,
            name("a"),
            1,
            0,
            0,
            4,
            32,
            name("bits"),
            1,
            3 << 24 | 99,
        ], // 5
        vec![0, structure(KIND_ENUM, 0, 1), 4, name("ONE"), 7], // 6
        vec![0, KIND_CONST << 24, 5],             // 7
        vec![0, KIND_POINTER << 24, 7],           // 8
        vec![0, KIND_CONST << 24, 0],             // 9
        vec![0, KIND_POINTER << 24, 9],           // 10
        vec![0, KIND_POINTER << 24, 0],           // 11
        vec![0, KIND_FUNC_PROTO << 24 | 4, 1, 0, 8, 0, 1, 0, 10, 0, 11], // 12
        vec![name("run"), KIND_FUNC << 24, 12],   // 13
    ]
    .concat();
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend(strings);
    bytes
}

#[test]
fn members_are_found_through_anonymous_types() {
    let bytes = fixture();
    let btf = Btf::parse(&bytes).unwrap();
    for (member, offset) in [("a", 0), ("b", 4), ("c", 8), ("bits", 12)] {
        assert_eq!(btf.offset("outer", member), Ok(offset), "{member}");
    }
    assert_eq!(btf.offset("outer", "x"), Err(BtfError::NoMember("outer".into(), "x".into())));
    assert_eq!(btf.offset("inner", "x"), Err(BtfError::NoStruct("inner".into())));
    assert_eq!(btf.enumerator("ONE"), Ok(Some(7)));
    assert_eq!(btf.enumerator("TWO"), Ok(None));
}

#[test]
fn parameters_are_known_by_what_they_point_to() {
    let bytes = fixture();
    let btf = Btf::parse(&bytes).unwrap();
    let found = btf.functions(&["outer", "ru", "run", "runs"]).unwrap();
    assert_eq!(found, HashMap::from([("run", vec![Some(&b"outer"[..]), None, None, None])]));
}

#[test]
fn damaged_tables_are_errors_not_panics() {
    let bytes = fixture();
    for len in 0..bytes.len() {
        if let Ok(btf) = Btf::parse(&bytes[..len]) {
            let _ = btf.offset("outer", "c");
        }
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(btf) = Btf::parse(&damaged) {
                let _ = btf.offset("outer", "c");
                let _ = btf.enumerator("ONE");
                let _ = btf.functions(&["run"]);
            }
        }
    }
}
