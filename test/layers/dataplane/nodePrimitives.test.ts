import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js"
import { x25519 } from "@noble/curves/ed25519.js"
import { blake2s } from "@noble/hashes/blake2.js"
import { hmac } from "@noble/hashes/hmac.js"
import { createCipheriv } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { makeNodePrimitives } from "../../../layers/dataplane/nodePrimitives.ts"
import { bytes, integer } from "../../support/packetArbitraries.ts"
import { range, nonceOf } from "../../support/bytes.ts"

const arena = new Uint8Array(4096)
const p = makeNodePrimitives(arena)
const hex = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString("hex"))
const unhex = (value: string) => new Uint8Array(Buffer.from(value, "hex"))

const counters = [0, 1, 255, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 5, 2 ** 53 - 8194]

describe("X25519", () => {
  it("gives the results of RFC 7748 §5.2 and §6.1", () => {
    const scalar = unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    const point = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    const base = new Uint8Array(32)
    base[0] = 9

    assert.strictEqual(
      hex(p.x25519(scalar).agree(point)),
      "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    )
    assert.strictEqual(
      hex(p.x25519(base).agree(base)),
      "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    )
  })

  it("agrees with another implementation on public keys and secrets", () => {
    for (let i = 0; i < 5; i++) {
      const secret = range(i, i + 32)
      const other = x25519.getPublicKey(range(i + 50, i + 82))

      assert.strictEqual(hex(p.x25519(secret).publicKey), hex(x25519.getPublicKey(secret)))
      assert.strictEqual(hex(p.x25519(secret).agree(other)), hex(x25519.getSharedSecret(secret, other)))
    }
  })

  it("refuses low-order points", () => {
    const points = [
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0100000000000000000000000000000000000000000000000000000000000000",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"
    ]
    for (const point of points) assert.isUndefined(p.x25519(range(0, 32)).agree(unhex(point)))
  })
})

describe("BLAKE2s", () => {
  it("gives the results of RFC 7693 and of its authors", () => {
    const abc = new TextEncoder().encode("abc")

    assert.strictEqual(hex(p.blake2s(abc)), "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
    assert.strictEqual(
      hex(blake2s(new Uint8Array(0), { key: range(0, 32) })),
      "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"
    )
  })

  it("hashes the parts as one, plain and under HMAC", () => {
    const [a, b, c] = [97, 98, 99].map((letter) => Uint8Array.of(letter)) as [Uint8Array, Uint8Array, Uint8Array]

    assert.strictEqual(hex(p.blake2s(a, b, c)), hex(p.blake2s(Uint8Array.of(97, 98, 99))))
    assert.strictEqual(
      hex(p.hmacBlake2s(range(0, 32), Uint8Array.of(97, 98), c)),
      "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f"
    )
  })
})

describe("HMAC-BLAKE2s", () => {
  it.prop("is what another implementation gives, for keys of every length", [bytes(150), bytes(200)], ([key, data]) => {
    const before = hex(key)

    assert.strictEqual(hex(p.hmacBlake2s(key, data)), hex(hmac(blake2s, key, data)))
    assert.strictEqual(hex(key), before)
  })
})

describe("ChaCha20-Poly1305", () => {
  it("has an oracle that knows RFC 8439 §2.8.2", () => {
    const plain = new TextEncoder().encode(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    )
    const sealed = chacha20poly1305(
      range(0x80, 0xa0),
      unhex("070000004041424344454647"),
      unhex("50515253c0c1c2c3c4c5c6c7")
    )
    const extended = xchacha20poly1305(range(0x80, 0xa0), range(0x40, 0x58), unhex("50515253c0c1c2c3c4c5c6c7"))

    assert.strictEqual(hex(sealed.encrypt(plain).subarray(-16)), "1ae10b594f09e26a7e902ecbd0600691")
    assert.strictEqual(hex(extended.encrypt(plain).subarray(-16)), "c0875924c1c7987947deafd8780acf49")
  })

  it.prop(
    "seals in the arena like the oracle, under every size of counter, and opens in place",
    [bytes(300), integer(0, counters.length - 1), integer(0, 1)],
    ([plain, which, inPlace]) => {
      const counter = counters[which]!
      const key = p.aead(range(7, 39))
      const dst = inPlace === 1 ? 64 : 1024
      arena.set(plain, 64)

      key.seal(counter, 64, plain.length, dst)

      const sealed = arena.slice(dst, dst + plain.length + 16)
      assert.strictEqual(hex(sealed), hex(chacha20poly1305(range(7, 39), nonceOf(counter)).encrypt(plain)))
      assert.isTrue(key.open(counter, dst, plain.length))
      assert.strictEqual(hex(arena.slice(dst, dst + plain.length)), hex(plain))
    }
  )

  it.prop(
    "refuses a bent byte, another key and other additional data of a short value",
    [integer(0, 35), integer(1, 255)],
    ([at, flip]) => {
      const key = range(7, 39)
      const sealed = p.sealOnce(key, range(0, 20), range(0, 4))
      assert.strictEqual(hex(p.openOnce(key, sealed, range(0, 4))), hex(range(0, 20)))

      assert.isUndefined(p.openOnce(range(8, 40), sealed, range(0, 4)))
      assert.isUndefined(p.openOnce(key, sealed, range(0, 5)))
      sealed[at]! ^= flip
      assert.isUndefined(p.openOnce(key, sealed, range(0, 4)))
      assert.isUndefined(p.openOnce(key, sealed.subarray(0, 15), range(0, 4)))
    }
  )

  it.prop("seals short values like node's cipher", [bytes(64), bytes(64)], ([plain, additional]) => {
    const cipher = createCipheriv("chacha20-poly1305", range(7, 39), nonceOf(0), { authTagLength: 16 })
    cipher.setAAD(additional, { plaintextLength: plain.length })
    const expected = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])

    assert.strictEqual(hex(p.sealOnce(range(7, 39), plain, additional)), hex(expected))
  })

  it("copies the key it is given and is of no use once freed", () => {
    const given = range(7, 39)
    const key = p.aead(given)
    given.fill(0)
    arena.set(range(0, 3), 64)
    key.seal(0, 64, 3, 64)

    assert.strictEqual(hex(arena.slice(64, 83)), hex(chacha20poly1305(range(7, 39), nonceOf(0)).encrypt(range(0, 3))))
    key.free()
    assert.throws(() => key.seal(0, 64, 3, 64), /freed/)
  })
})

describe("comparison", () => {
  it("is by content and length", () => {
    assert.isTrue(p.equal(range(0, 16), range(0, 16)))
    assert.isFalse(p.equal(range(0, 16), range(1, 17)))
    assert.isFalse(p.equal(range(0, 16), range(0, 15)))
  })
})
