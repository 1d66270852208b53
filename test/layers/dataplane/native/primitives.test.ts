import { chacha20poly1305 } from "@noble/ciphers/chacha.js"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { addressOfFunction } from "../../../../layers/dataplane/native/callList.ts"
import { makeSingleCalls } from "../../../../layers/dataplane/native/singleCalls.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import {
  agree,
  findChaChaPoly,
  type ChaChaPoly,
  makeChaChaPoly
} from "../../../../layers/dataplane/native/chachaPoly.ts"
import { bindEvp, type Evp } from "../../../../layers/dataplane/native/evp.ts"
import { makePrimitives } from "../../../../layers/dataplane/native/primitives.ts"
import { makeNodePrimitives } from "../../../../layers/dataplane/nodePrimitives.ts"
import { nonceOf } from "../../../support/bytes.ts"

const memory = makeMemory(1)
const { arena, base } = memory
const bytes = arena.bytes
const at = arena.reserve(16384)
const withoutHalves = (): ChaChaPoly => {
  throw new Error("Cannot find function")
}
const { primitives: evpPrimitives, warning } = makePrimitives(memory, bindEvp, withoutHalves)
const callByCall = {
  ...evpPrimitives,
  aead: makeChaChaPoly(memory, findChaChaPoly(), () => makeSingleCalls)
}
const node = makeNodePrimitives(bytes)

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ""), "hex"))

describe("EVP as bound", () => {
  // RFC 8439, appendix A.5; its nonce and additional data are beyond what `AeadKey` can say.
  const key = hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
  const nonce = hex("000000000102030405060708")
  const additional = hex("f33388860000000000004e91")
  const tag = hex("eead9d67890cbb22392336fea1851f38")
  const plain =
    "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or " +
    "obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or " +
    "to cite them other than as /\u201cwork in progress./\u201d"

  it("opens the vector of RFC 8439 A.5 only with its own tag", () => {
    const evp = bindEvp()
    const cipher = hex(
      `64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f0
       3b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b
       6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc
       546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094
       fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b`
    )
    const put = (offset: number, data: Uint8Array): number => {
      bytes.set(data, at + offset)
      return base + at + offset
    }
    const open = (): boolean => {
      const context = evp.newContext()
      evp.decryptInit(context, evp.chacha20Poly1305(), 0, put(0, key), put(32, nonce))
      evp.control(context, 0x11, 16, base + at + 64)
      evp.decryptUpdate(context, 0, base + at + 96, put(128, additional), additional.length)
      evp.decryptUpdate(context, base + at + 256, base + at + 96, put(1024, cipher), cipher.length)
      const opened = evp.decryptFinal(context, base + at + 160, base + at + 96) === 1
      evp.freeContext(context)
      return opened
    }

    put(64, tag)
    assert.isTrue(open())
    assert.strictEqual(new TextDecoder().decode(bytes.slice(at + 256, at + 256 + cipher.length)), plain)
    bytes[at + 64]! ^= 0x80
    assert.isFalse(open())
  })
})

it("the packet cipher runs on OpenSSL's EVP interface in this node, and on its halves", () => {
  assert.isNull(warning)
  assert.isTrue(agree(memory, makeChaChaPoly(memory, findChaChaPoly()), evpPrimitives.aead))
})

describe.each([
  ["EVP", evpPrimitives],
  ["ChaCha20 and Poly1305", makePrimitives(memory).primitives],
  ["ChaCha20 and Poly1305, called one by one", callByCall]
] as const)("the packet cipher by %s", (_, primitives) => {
  it.prop(
    "seals what two other implementations seal, in place and from elsewhere, and opens it",
    [
      Schema.Struct({
        length: Schema.Literals([0, 1, 15, 16, 17, 32, 63, 64, 65, 127, 128, 129, 1419, 1420, 4096]),
        counter: Schema.Literals([0, 1, 0xff, 0xffffffff, 0x100000000, 0x1234567890abc, Number.MAX_SAFE_INTEGER]),
        seed: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })),
        distance: Schema.Literals([0, 4096 + 16, 4096 + 17])
      })
    ],
    ([{ length, counter, seed, distance }]) => {
      const secret = Uint8Array.from({ length: 32 }, (_, i) => (seed * 31 + i * 7) & 255)
      const plain = Uint8Array.from({ length }, (_, i) => (seed + i * 13) & 255)
      const expected = chacha20poly1305(secret, nonceOf(counter)).encrypt(plain)
      const key = primitives.aead(secret)
      const nodeKey = node.aead(secret)
      const to = at + distance

      bytes.set(plain, at)
      const beyond = Uint8Array.from({ length: 32 }, (_, i) => seed ^ i)
      bytes.set(beyond, to + length + 16)
      key.seal(counter, at, length, to)
      const sealed = bytes.slice(to, to + length + 16)
      const opened = key.open(counter, to, length)
      const result = bytes.slice(to, to + length)
      const left = bytes.slice(to + length + 16, to + length + 48)
      bytes.set(plain, at)
      nodeKey.seal(counter, at, length, to)

      assert.deepStrictEqual(sealed, expected)
      assert.deepStrictEqual(bytes.slice(to, to + length + 16), expected)
      assert.isTrue(opened)
      assert.deepStrictEqual(result, plain)
      assert.deepStrictEqual(left, beyond)
      key.free()
      nodeKey.free()
    },
    { arbitrary: { runs: 300, seed: 3 } }
  )

  it("works up to the arena's last byte", () => {
    const key = primitives.aead(new Uint8Array(32).fill(1))
    for (const length of [1_417, 1_420, 1_424]) {
      const end = bytes.length - length - 16
      const before = bytes.slice(end)
      bytes.fill(3, at, at + length)
      key.seal(5, at, length, end)
      const sealed = bytes.slice(end)

      assert.deepStrictEqual(
        sealed,
        chacha20poly1305(new Uint8Array(32).fill(1), nonceOf(5)).encrypt(bytes.slice(at, at + length))
      )
      assert.isTrue(key.open(5, end, length))
      assert.deepStrictEqual(bytes.slice(end, end + length), bytes.slice(at, at + length))
      bytes.set(before, end)
    }
    key.free()
  })

  it.prop(
    "refuses a packet with any one bit changed, and another counter",
    [
      Schema.Struct({
        length: Schema.Literals([0, 1, 16, 64, 1420]),
        bit: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12_000 }))
      })
    ],
    ([{ length, bit }]) => {
      const key = primitives.aead(new Uint8Array(32).fill(7))
      const position = bit % ((length + 16) * 8)
      const seal = () => {
        bytes.fill(1, at, at + length)
        key.seal(5, at, length, at)
      }

      seal()
      bytes[at + (position >> 3)]! ^= 1 << (position & 7)
      assert.isFalse(key.open(5, at, length))
      seal()
      assert.isFalse(key.open(6, at, length))
      seal()
      assert.isTrue(key.open(5, at, length))
      key.free()
    },
    { arbitrary: { runs: 200, seed: 4 } }
  )

  it("keeps keys apart and forgets a freed one", () => {
    const one = primitives.aead(new Uint8Array(32).fill(1))
    const two = primitives.aead(new Uint8Array(32).fill(2))
    one.seal(0, at, 100, at)
    assert.isFalse(two.open(0, at, 100))

    one.seal(0, at, 100, at)
    one.free()
    one.free()

    assert.throws(() => one.seal(0, at, 100, at), "freed key")
    assert.throws(() => one.open(0, at, 100), "freed key")
    two.free()
  })

  it("does not notice what becomes of the caller's copy of the key", () => {
    const secret = new Uint8Array(32).fill(9)
    const key = primitives.aead(secret)
    const same = primitives.aead(new Uint8Array(32).fill(9))
    secret.fill(0)

    key.seal(1, at, 64, at)

    assert.isTrue(same.open(1, at, 64))
  })

  it("leaves no key bytes in the arena", () => {
    const secret = Uint8Array.from({ length: 32 }, (_, i) => 0xe0 ^ i)
    const key = primitives.aead(secret)
    key.seal(1, at, 64, at)
    key.open(1, at, 64)

    assert.strictEqual(Buffer.from(bytes.buffer).indexOf(secret), -1)
  })
})

describe("ChaCha20 and Poly1305 that do not agree with EVP", () => {
  const broken: ReadonlyArray<readonly [string, Partial<ChaChaPoly>]> = [
    ["encrypt nothing", { chacha20: addressOfFunction("getppid") }],
    ["authenticate nothing", { polyUpdate: addressOfFunction("getppid") }],
    ["make no tag", { polyFinal: addressOfFunction("getppid") }]
  ]
  it.each(broken)("are not used: they %s", (_, part) => {
    let used = 0
    const evp = bindEvp()
    const counting: Evp = { ...evp, encryptUpdate: (...args) => ((used += 1), evp.encryptUpdate(...args)) }
    const made = makePrimitives(
      memory,
      () => counting,
      () => ({ ...findChaChaPoly(), ...part })
    )
    const key = made.primitives.aead(new Uint8Array(32).fill(1))
    used = 0
    bytes.fill(0x55, at, at + 1_420)
    key.seal(9, at, 1_420, at)

    assert.strictEqual(used, 1)
    assert.isTrue(key.open(9, at, 1_420))
    assert.strictEqual(bytes[at + 1_419], 0x55)
    assert.isNull(made.warning)
  })
})

describe("without a working EVP interface", () => {
  const roundTrip = (load: () => Evp) => {
    const made = makePrimitives(memory, load)
    const key = made.primitives.aead(new Uint8Array(32).fill(1))
    bytes.fill(0x55, at, at + 100)
    key.seal(9, at, 100, at)
    assert.isTrue(key.open(9, at, 100))
    assert.strictEqual(bytes[at + 99], 0x55)
    return made.warning
  }

  it("falls back to node's ciphers, with a warning, when symbols are missing", () => {
    const message = roundTrip(() => {
      throw new Error("Cannot find function")
    })
    assert.match(message!, /does not export.*official build/)
  })

  it("falls back when a known answer comes out wrong", () => {
    const broken: ReadonlyArray<Partial<Evp>> = [
      { encryptUpdate: () => 1 },
      { decryptFinal: () => 1 },
      { control: () => 0 },
      { newContext: () => 0 }
    ]
    for (const part of broken) {
      assert.match(
        roundTrip(() => ({ ...bindEvp(), ...part }))!,
        /known-answer test/
      )
    }
  })
})
