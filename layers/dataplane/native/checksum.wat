;; The Internet checksum's sum (RFC 1071) over the arena, 32 bytes at a time, and a plain copy.
;; Words are summed as they lie in memory (little-endian); the caller swaps the folded result once.
(module
  (import "arena" "memory" (memory 1))

  ;; One's-complement sum of `length` bytes at `at`, folded to 16 bits. An odd last byte is the low half of a word.
  (func (export "sum") (param $at i32) (param $length i32) (result i32)
    (local $a v128) (local $b v128) (local $end i32) (local $sum i64)
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -32))))
    ;; Two rows of four 32-bit lanes; each lane grows by at most 2 * 65535 per step, so 64 KiB never overflow.
    (block $wide_done
      (loop $wide
        (br_if $wide_done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br $wide)))
    (local.set $a
      (i64x2.add
        (i64x2.add (i64x2.extend_low_i32x4_u (local.get $a)) (i64x2.extend_high_i32x4_u (local.get $a)))
        (i64x2.add (i64x2.extend_low_i32x4_u (local.get $b)) (i64x2.extend_high_i32x4_u (local.get $b)))))
    (local.set $sum (i64.add (i64x2.extract_lane 0 (local.get $a)) (i64x2.extract_lane 1 (local.get $a))))
    ;; The rest: up to 15 words and a byte.
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const 30))))
    (block $words_done
      (loop $words
        (br_if $words_done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $sum (i64.add (local.get $sum) (i64.load16_u align=1 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (br $words)))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (local.set $sum (i64.add (local.get $sum) (i64.load8_u (local.get $at))))))
    ;; Three folds bring 40 bits to 16.
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16))))
    (local.set $sum (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16))))
    (i32.wrap_i64
      (i64.add (i64.and (local.get $sum) (i64.const 0xffff)) (i64.shr_u (local.get $sum) (i64.const 16)))))

  (func (export "copy") (param $to i32) (param $from i32) (param $length i32)
    (memory.copy (local.get $to) (local.get $from) (local.get $length))))
