import { assert, describe, it } from "@effect/vitest"
import { createSocket } from "node:dgram"
import { connect, createServer } from "node:net"
import { close, openServerSocket, openTun, openUdp } from "../../../../layers/dataplane/native/fds.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { bindToDeviceError, NativeError, tunError, udpError } from "../../../../layers/dataplane/native/nativeError.ts"

const failure = (value: unknown): NativeError => {
  assert.instanceOf(value, NativeError)
  return value
}

describe("openUdp", () => {
  for (const family of [4, 6] as const) {
    it(`says which IPv${family} port is taken and how to find its owner`, () => {
      const first = openUdp({ family, port: 0 })
      if (first instanceof NativeError) throw new Error(first.message)

      const error = failure(openUdp({ family, port: first.port }))

      close(first.fd)
      assert.strictEqual(error.errno, "EADDRINUSE")
      assert.strictEqual(error.syscall, "bind")
      assert.include(error.message, `UDP port ${first.port} is taken`)
      assert.include(error.message, "ss -lunp")
    })
  }

  it("lets both families have the same port", () => {
    const four = openUdp({ family: 4, port: 0 })
    if (four instanceof NativeError) throw new Error(four.message)
    const six = openUdp({ family: 6, port: four.port })
    close(four.fd)

    if (six instanceof NativeError) throw new Error(six.message)
    close(six.fd)
    assert.strictEqual(six.port, four.port)
  })

  it("leaves no descriptor behind when it fails", () => {
    const taken = openUdp({ family: 4, port: 0 })
    if (taken instanceof NativeError) throw new Error(taken.message)
    failure(openUdp({ family: 4, port: taken.port }))

    const next = openUdp({ family: 4, port: 0 })

    if (next instanceof NativeError) throw new Error(next.message)
    close(taken.fd)
    close(next.fd)
    assert.isBelow(next.fd, taken.fd + 8)
  })

  it("names the sysctls when the kernel grants less buffer than wanted", () => {
    const socket = openUdp({ family: 4, port: 0, buffer: 0x7fffffff })
    if (socket instanceof NativeError) throw new Error(socket.message)
    close(socket.fd)

    assert.match(socket.warning!, /sysctl -w net\.core\.rmem_max=\d+ net\.core\.wmem_max=\d+/)
  })
})

describe("openTun", () => {
  for (const name of ["", "sixteen-chars-ab", "a b", "a/b", "a:b"]) {
    it(`refuses the device name ${JSON.stringify(name)} without asking the kernel`, () => {
      const error = failure(openTun(name, { vnetHeader: false }))

      assert.strictEqual(error.errno, "EINVAL")
      assert.include(error.message, "choose another device name")
    })
  }
})

describe("openServerSocket", () => {
  const opened = (options: Parameters<typeof openServerSocket>[0]) => {
    const socket = openServerSocket(options)
    if (socket instanceof NativeError) throw new Error(socket.message)
    return socket
  }

  for (const address of ["127.0.0.1", "::1"]) {
    it(`makes a socket on ${address} and one device that node's UDP server takes over`, async () => {
      const { fd, port } = opened({ transport: "udp", address, port: 0, device: "lo" })
      const type = address === "::1" ? "udp6" : "udp4"
      const server = createSocket(type)
      const client = createSocket(type)
      const received = new Promise<string>((resolve) =>
        server.once("message", (message) => resolve(message.toString()))
      )

      await new Promise<void>((resolve) => server.bind({ fd }, resolve))
      client.send("question", port, address)

      assert.strictEqual(await received, "question")
      client.close()
      server.close()
    })
  }

  it("makes one that node's TCP server takes over", async () => {
    const { fd, port } = opened({ transport: "tcp", address: "127.0.0.1", port: 0, device: "lo" })
    const server = createServer((socket) => socket.end("answer"))
    await new Promise<void>((resolve) => server.listen({ fd }, resolve))

    const answer = await new Promise<string>((resolve) =>
      connect(port, "127.0.0.1").once("data", (data) => resolve(data.toString()))
    )

    server.close()
    assert.strictEqual(answer, "answer")
  })

  it("names the address that is taken, the one that is not the host's, and the missing device", () => {
    const { fd, port } = opened({ transport: "udp", address: "127.0.0.1", port: 0, device: null })

    const taken = failure(openServerSocket({ transport: "udp", address: "127.0.0.1", port, device: null }))
    const foreign = failure(openServerSocket({ transport: "tcp", address: "192.0.2.1", port: 0, device: null }))
    const missing = failure(openServerSocket({ transport: "udp", address: "127.0.0.1", port: 0, device: "none0" }))

    close(fd)
    assert.include(taken.message, `UDP 127.0.0.1:${port} is taken`)
    assert.include(foreign.message, "not on any interface of this host yet")
    assert.strictEqual(missing.errno, "ENODEV")
    assert.include(missing.message, "none0")
  })
})

describe("what the operator reads", () => {
  for (const [error, parts] of [
    [tunError("open", "ENOENT", "sally0"), ["/dev/net/tun is missing", "modprobe tun"]],
    [tunError("ioctl", "EPERM", "sally0"), ["sally0", "CAP_NET_ADMIN"]],
    [tunError("ioctl", "EBUSY", "sally0"), ["sally0", "in use by another process"]],
    [tunError("ioctl", "EINVAL", "eth0"), ["eth0", "choose another device name"]],
    [tunError("ioctl", "EIO", "sally0"), ["ioctl failed with EIO"]],
    [udpError("bind", "EADDRINUSE", 4, 51820), ["51820", "taken"]],
    [udpError("bind", "EACCES", 4, 53), ["53", "CAP_NET_BIND_SERVICE"]],
    [udpError("socket", "EAFNOSUPPORT", 6, 51820), ["no IPv6"]],
    [udpError("socket", "EMFILE", 4, 51820), ["ulimit -n"]],
    [udpError("bind", "ENOMEM", 4, 1), ["bind failed with ENOMEM"]],
    [bindToDeviceError("EPERM", "sally0"), ["sally0", "CAP_NET_RAW"]],
    [bindToDeviceError("ENODEV", "sally0"), ["sally0", "restart the gateway"]]
  ] as const) {
    it(`names cause and fix in one line: ${error.syscall} ${error.errno}`, () => {
      for (const part of parts) assert.include(error.message, part)
      assert.notInclude(error.message, "\n")
      assert.isBelow(error.message.length, 200)
    })
  }
})

describe("makeMemory", () => {
  it("is fixed in size and its base is the address system calls see", () => {
    const { arena, memory } = makeMemory(2)

    assert.strictEqual(arena.bytes.length, 2 * 1024 * 1024)
    assert.throws(() => (memory as unknown as { grow: (pages: number) => number }).grow(1))
  })
})
