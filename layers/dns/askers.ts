/** Who asks the tunnel's DNS server, and how much of that is taken. */
import * as Effect from "effect/Effect"
import { extendedErrorCode } from "../../src/dns/extendedError.ts"
import { newNameLimit, QuestionBudget, questionLimit } from "../../src/dns/QuestionBudget.ts"
import type { TunnelAnswer } from "../../src/dns/tunnelAnswer.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { TokenBucket } from "../../src/nat/TokenBucket.ts"

export interface Asker {
  /** For the log; its questions wait in one line. */
  readonly name: string
  readonly questions: QuestionBudget
  readonly newNames: QuestionBudget
  /** Answers to what is no question that could be answered. */
  readonly complaints: TokenBucket
  /** When it was last told that questions are refused, in monotonic milliseconds: the ones right after cost next to nothing. */
  refusedAt: number
  /** Says in one line, once a minute, that some of its questions were shed. */
  readonly tellShed: Effect.Effect<void>
}

const complaintLimit = { perSecond: 100, burst: 500 } as const
/** So soon after a refusal was told of, further ones need not be. */
const toldMs = 1_000

export const makeAsker = (name: string): Asker => {
  const tell = makeOddities()
  const message = `${name} asks the tunnel's DNS server more than its share (docs/limits.md): some questions wait, some fail`
  return {
    name,
    questions: new QuestionBudget(questionLimit),
    newNames: new QuestionBudget(newNameLimit),
    complaints: new TokenBucket(complaintLimit),
    refusedAt: Number.NEGATIVE_INFINITY,
    tellShed: tell("shed", message)
  }
}

const tooMany: TunnelAnswer = {
  _tag: "ServerFailure",
  error: { code: extendedErrorCode.Other, text: "too many questions" }
}

export const makeAdmission = () => {
  const counters = { questions_waited: 0, questions_refused: 0, complaints_refused: 0 }
  return {
    /**
     * By name: `questions_waited` (for the rate, and then taken), `questions_refused` (SERVFAIL: they would wait too long),
     * `complaints_refused` (garbage that got no answer).
     */
    counters: () => ({ ...counters }),
    /** Whether the asker is told of one more query that it cannot be answered. */
    mayComplain: (asker: Asker, now: number): boolean => {
      const may = asker.complaints.take(now)
      if (!may) counters.complaints_refused++
      return may
    },
    /** A flood is refused in one call: `undefined` where `admit` has to say it. */
    refuse: (asker: Asker, now: number): TunnelAnswer | undefined => {
      if (now - asker.refusedAt >= toldMs || !asker.questions.isSpent(now)) return undefined
      counters.questions_refused++
      return tooMany
    },
    /** Takes a question that need not wait for the asker's rate; `false`: `admit` has to say it. */
    admitAtOnce: (asker: Asker, now: number): boolean => asker.questions.admitAtOnce(now),
    /** Waits for one of the asker's rates. `null`: the question is taken; else what it is told instead. */
    admit: Effect.fnUntraced(function* (
      asker: Asker,
      rate: "questions" | "newNames" = "questions"
    ): Effect.fn.Return<TunnelAnswer | null> {
      const now = yield* monotonicMillis
      const admission = asker[rate].admit(now)
      if (admission._tag === "Refused") {
        counters.questions_refused++
        asker.refusedAt = now
        yield* asker.tellShed
        return tooMany
      }
      if (admission.waitMs === 0) return null
      counters.questions_waited++
      yield* Effect.sleep(admission.waitMs)
      return null
    })
  }
}
