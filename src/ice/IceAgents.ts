/** All agents that share a socket: finds the one that a message is for, and the ones with something to do. */
import { Deadlines, type Timed } from "../wireguard/timers.ts"
import { agentIndex, IceAgent, type IceAgentOptions } from "./IceAgent.ts"
import type { StunMessage } from "./stun.ts"
import { StunAttribute } from "./stunProtocol.ts"

export class IceAgents {
  private readonly byUsername = new Map<string, IceAgent>()
  private readonly slots: Array<Slot | undefined> = []
  private readonly free: Array<number> = []
  private readonly slotOf = new Map<IceAgent, Slot>()
  private readonly deadlines = new Deadlines<Slot>()

  get size(): number {
    return this.slotOf.size
  }

  /** Makes an agent; of two with the same USERNAME, requests go to the later one. */
  create(options: IceAgentOptions): IceAgent {
    const index = this.free.pop() ?? this.slots.length
    const agent = new IceAgent(options, index, (moved) => {
      const slot = this.slotOf.get(moved)
      if (slot !== undefined) this.deadlines.atLatest(slot, moved.nextDeadline())
    })
    const slot: Slot = { agent, index, heapIndex: -1, deadline: 0 }
    this.slots[index] = slot
    this.slotOf.set(agent, slot)
    this.byUsername.set(agent.username, agent)
    this.deadlines.atLatest(slot, agent.nextDeadline())
    return agent
  }

  /** The agent is never called again from here. */
  remove(agent: IceAgent): void {
    const slot = this.slotOf.get(agent)
    if (slot === undefined) return
    this.deadlines.remove(slot)
    this.slotOf.delete(agent)
    this.slots[slot.index] = undefined
    this.free.push(slot.index)
    if (this.byUsername.get(agent.username) === agent) this.byUsername.delete(agent.username)
  }

  /** The agent that the message says it is for; whether it is authentic is for the agent to find out. */
  find(message: StunMessage): IceAgent | undefined {
    if (message.class === "request") return this.byUsername.get(message.text(StunAttribute.username) ?? "")
    const agent = this.slots[agentIndex(message.transaction)]?.agent
    return agent?.accepts(message) === true ? agent : undefined
  }

  nextDeadline(): number {
    return this.deadlines.next()
  }

  /** Advances the agents that are due; they may be removed meanwhile. */
  advance(now: number): void {
    for (let slot = this.deadlines.takeDue(now); slot !== undefined; slot = this.deadlines.takeDue(now)) {
      slot.agent.advance(now)
      if (this.slots[slot.index] === slot) this.deadlines.atLatest(slot, slot.agent.nextDeadline())
    }
  }
}

interface Slot extends Timed {
  readonly agent: IceAgent
  readonly index: number
}
