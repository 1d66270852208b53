import { assert, describe, it } from "@effect/vitest"
import { CandidateBook } from "../../../src/control/firezone/candidateBook.ts"
import { ClientId } from "../../../src/model/Client.ts"

const ada = ClientId.make("ada")
const bob = ClientId.make("bob")

describe("our candidates on their way", () => {
  it("are grouped by client, sorted, each once", () => {
    const book = new CandidateBook()
    for (const candidate of ["b", "a", "b"]) book.found(ada, candidate)
    book.found(bob, "c")
    assert.deepStrictEqual(book.take(), [
      { event: "broadcast_ice_candidates", payload: { client_ids: [ada], candidates: ["a", "b"] } },
      { event: "broadcast_ice_candidates", payload: { client_ids: [bob], candidates: ["c"] } }
    ])
    assert.deepStrictEqual(book.take(), [])
  })

  it("are told in their latest state only", () => {
    const book = new CandidateBook()
    book.found(ada, "a")
    book.lost(ada, "a")
    book.lost(ada, "b")
    book.found(ada, "b")
    assert.deepStrictEqual(book.take(), [
      { event: "broadcast_invalidated_ice_candidates", payload: { client_ids: [ada], candidates: ["a"] } },
      { event: "broadcast_ice_candidates", payload: { client_ids: [ada], candidates: ["b"] } }
    ])
  })

  it("are forgotten with the connection, and bounded per client", () => {
    const book = new CandidateBook()
    book.found(ada, "a")
    book.forget(ada)
    for (let n = 0; n < 1_000; n++) book.found(bob, `${n}`)
    const [message, ...none] = book.take()
    assert.lengthOf(none, 0)
    const { candidates } = message!.payload as { candidates: ReadonlyArray<string> }
    assert.lengthOf(candidates, 64)
    assert.include(candidates, "999")
  })
})
