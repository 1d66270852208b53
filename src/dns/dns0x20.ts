/**
 * Random case in the question's name (draft-vixie-dnsext-dns0x20): a server answers with the question's own bytes, so
 * that each letter is one more bit that a forger has to guess. All on the wire form, whose name starts at byte 12.
 */

/** The query with the case of each letter of its question's name by one bit of `random`. */
export const randomCase = (query: Uint8Array, random: Uint8Array): Uint8Array => {
  const cased = query.slice()
  let bit = 0
  for (let at = questionAt; at < cased.length && cased[at] !== 0; at += 1 + query[at]!) {
    for (let i = at + 1; i <= at + query[at]!; i++) {
      if (!isLetter(cased[i]!)) continue
      const on = (random[(bit >>> 3) % random.length]! >>> (bit & 7)) & 1
      cased[i] = (cased[i]! & ~0x20) | (on << 5)
      bit++
    }
  }
  return cased
}

/** What an answer did with the case of the question that was sent: another name or none is `Other`. */
export type CaseVerdict = "Kept" | "Changed" | "Other"

/**
 * Compares the answer's question with the one that was `sent`, and writes the name as it was meant (`plain`) over it: all
 * names of the answer that point into the question are then as the asker wrote them.
 */
export const restoreCase = (sent: Uint8Array, plain: Uint8Array, answer: Uint8Array): CaseVerdict => {
  let end = questionAt
  while (end < sent.length && sent[end] !== 0) end += 1 + sent[end]!
  if (answer.length <= end || (answer[4] === 0 && answer[5] === 0)) return "Other"
  let kept = true
  for (let i = questionAt; i <= end; i++) {
    const [ours, theirs] = [sent[i]!, answer[i]!]
    if (ours === theirs) continue
    // A length byte is no letter, so that only the bit of a letter may differ.
    if ((ours ^ theirs) !== 0x20 || !isLetter(ours)) return "Other"
    kept = false
  }
  answer.set(plain.subarray(questionAt, end), questionAt)
  return kept ? "Kept" : "Changed"
}

const questionAt = 12

const isLetter = (byte: number): boolean => {
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x7a
}
