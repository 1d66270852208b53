/** Whether an address lies in one of a few networks, with everything but the comparison done beforehand. */
import { mask, type Network, type Words } from "../../packet/address.ts"

const allOnes: Words = { w0: -1, w1: -1, w2: -1, w3: -1 }
/** Address words, then mask words. */
const ROW = 8

export class NetworkSet {
  private readonly rows: Int32Array

  constructor(networks: ReadonlyArray<Network>) {
    this.rows = Int32Array.from(
      networks.flatMap(({ address, prefix }) => {
        const m = mask(allOnes, prefix)
        const a = mask(address, prefix)
        return [a.w0, a.w1, a.w2, a.w3, m.w0, m.w1, m.w2, m.w3]
      })
    )
  }

  has(a: Readonly<Words>): boolean {
    const { rows } = this
    for (let at = 0; at < rows.length; at += ROW) {
      if (
        (a.w3 & rows[at + 7]!) === rows[at + 3] &&
        (a.w2 & rows[at + 6]!) === rows[at + 2] &&
        (a.w1 & rows[at + 5]!) === rows[at + 1] &&
        (a.w0 & rows[at + 4]!) === rows[at]
      ) {
        return true
      }
    }
    return false
  }
}
