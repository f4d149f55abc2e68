// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

struct Mem {
    bs: usize,
    blocks: Vec<Vec<u8>>,
}

impl Blocks for Mem {
    fn block_size(&self) -> usize {
        self.bs
    }
    fn count(&self) -> u32 {
        self.blocks.len() as u32
    }
    fn read(&self, n: u32, f: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        f(self.blocks.get(n as usize).ok_or(EIO)?)
    }
}

impl BlocksMut for Mem {
    fn write(&mut self, n: u32, f: &mut dyn FnMut(&mut [u8]) -> Result) -> Result {
        if n as usize == self.blocks.len() {
            self.blocks.push(vec![0; self.bs]);
        }
        f(self.blocks.get_mut(n as usize).ok_or(EIO)?)
    }
}

fn tree(bs: usize, s: Shape) -> Mem {
    let mut m = Mem { bs, blocks: vec![] };
    create(&mut m, s).unwrap();
    m
}

const OI: Shape = Shape { key: 16, rec: 8 };

#[test]
fn fresh_as_on_disk() {
    let m = tree(4096, OI);
    let head = [
        0xed, 0xb1, 0xab, 0xed, 0x0b, 0, 0, 0, 16, 0, 8, 0, 4, 0, 0, 0, 0xcb, 0, 2, 0,
    ];
    assert_eq!(m.blocks[0][..20], head);
    assert_eq!(m.blocks[1][..4], [0x76, 0x19, 1, 0]);
    assert_eq!(
        (
            OI.leaf_limit(4096),
            OI.node_limit(4096),
            OI.root_limit(4096)
        ),
        (170, 204, 203)
    );
    let mut rec = [1; 8];
    assert!(lookup(&m, &[0; 16], &mut rec).unwrap());
}

/// Ascending inserts split at 85: 1624 records and the dummy make 18 leaves of 85 and one of 95.
#[test]
fn ascending_as_observed() {
    let mut m = tree(4096, OI);
    for i in 1..=1624_u128 {
        insert(
            &mut m,
            &((0x2_0000_0bd1_u128 << 64) | i).to_be_bytes(),
            &[0; 8],
        )
        .unwrap();
    }
    assert_eq!(le16(&m.blocks[0], 18).unwrap(), 20);
    let counts: Vec<u16> = m.blocks[1..].iter().map(|b| le16(b, 2).unwrap()).collect();
    assert_eq!(counts.iter().filter(|c| **c == 85).count(), 18);
    assert_eq!(counts.iter().filter(|c| **c == 95).count(), 1);
}

proptest! {
    #[test]
    fn as_a_map(ops in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u32>()), 1..3000)) {
        // Small blocks, so that the tree gets tall.
        let mut m = tree(256, Shape { key: 8, rec: 4 });
        let mut model = BTreeMap::new();
        model.insert([0; 8], [0; 4]);
        for (op, k, v) in ops {
            let key = (u64::from(k % 1500) << 20).to_be_bytes();
            let rec = v.to_le_bytes();
            match op % 5 {
                0..=2 => {
                    let r = insert(&mut m, &key, &rec);
                    if let std::collections::btree_map::Entry::Vacant(e) = model.entry(key) {
                        prop_assert!(r.is_ok());
                        e.insert(rec);
                    } else {
                        prop_assert_eq!(r, Err(EEXIST));
                    }
                }
                3 => prop_assert_eq!(delete(&mut m, &key).is_ok(), model.remove(&key).is_some()),
                _ => {
                    let r = update(&mut m, &key, &rec);
                    prop_assert_eq!(r.is_ok(), model.contains_key(&key));
                    if r.is_ok() {
                        model.insert(key, rec);
                    }
                }
            }
            let mut got = [0; 4];
            let found = lookup(&m, &key, &mut got).unwrap();
            prop_assert_eq!(found.then_some(got), model.get(&key).copied());
        }
        let (mut key, mut rec, mut all) = ([0; 8], [0; 4], Vec::new());
        while next(&m, &mut key, &mut rec).unwrap() {
            all.push((key, rec));
            key = (u64::from_be_bytes(key) + 1).to_be_bytes();
        }
        prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    }
}
