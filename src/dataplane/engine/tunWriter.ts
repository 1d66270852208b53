/** Everything that goes to the TUN device: joined into super-packets where the device takes them, else one by one. */
import type { Checksum } from "../../packet/checksum.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { Coalescer } from "../offload/coalescer.ts"
import type { EngineState } from "./engineState.ts"

export class TunWriter {
  private readonly state: EngineState
  private readonly coalescer: Coalescer | undefined

  constructor(state: EngineState, checksum: Checksum, join: { readonly tcp: boolean; readonly udp: boolean }) {
    this.state = state
    if (!join.tcp) return
    this.coalescer = new Coalescer(state.bytes, checksum, (gathered) => {
      const written = state.io.writeGathered(gathered)
      state.add(written ? "tun.written" : "tun.write_failed", gathered.parts)
      if (gathered.parts > 1) state.add("tun.joined", gathered.parts)
    })
    this.coalescer.udp = join.udp
  }

  /** The packet's bytes must stay as they are until `flush`. */
  packet(view: Readonly<PacketView>): void {
    if (this.coalescer !== undefined) return this.coalescer.add(view)
    this.state.count(this.state.io.writeTun(view.offset, view.length) ? "tun.written" : "tun.write_failed")
  }

  flush(): void {
    this.coalescer?.flush()
  }
}
