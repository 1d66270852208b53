/** Who asks the tunnel's DNS server, and how much of that is taken. */
import * as Effect from "effect/Effect"
import { extendedErrorCode } from "../../src/dns/extendedError.ts"
import { knownLimit, newNameLimit, QuestionBudget, questionLimit } from "../../src/dns/QuestionBudget.ts"
import type { TunnelAnswer } from "../../src/dns/tunnelAnswer.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"

export interface Asker {
  /** For the log; its questions wait in one line. */
  readonly name: string
  readonly questions: QuestionBudget
  readonly newNames: QuestionBudget
  /** Those whose answers are known. */
  readonly known: QuestionBudget
  /** Says in one line, once a minute, that some of its questions were shed. */
  readonly tellShed: Effect.Effect<void>
}

export const makeAsker = (name: string): Asker => {
  const tell = makeOddities()
  const message = `${name} asks the tunnel's DNS server more than its share (docs/limits.md): some questions wait, some fail`
  return {
    name,
    questions: new QuestionBudget(questionLimit),
    newNames: new QuestionBudget(newNameLimit),
    known: new QuestionBudget(knownLimit),
    tellShed: tell("shed", message)
  }
}

export const makeAdmission = () => {
  const counters = { questions_waited: 0, questions_refused: 0, questions_dropped: 0 }
  return {
    /**
     * By name: `questions_waited` (for the rate, and then taken), `questions_refused` (SERVFAIL: they would wait too
     * long), `questions_dropped` (no answer: a flood).
     */
    counters: () => ({ ...counters }),
    /** Whether a question would be dropped, which then it is; who floods has been told of long before. */
    isDropped: (asker: Asker, now: number): boolean => {
      const dropped = asker.questions.isFlooded(now)
      if (dropped) counters.questions_dropped++
      return dropped
    },
    /** Waits for one of the asker's rates. `null`: the question is taken; else what it is told instead. */
    admit: Effect.fnUntraced(function* (
      asker: Asker,
      rate: "questions" | "newNames" = "questions"
    ): Effect.fn.Return<TunnelAnswer | null> {
      const admission = asker[rate].admit(yield* monotonicMillis)
      if (admission._tag === "Admitted") {
        if (admission.waitMs === 0) return null
        counters.questions_waited++
        yield* Effect.sleep(admission.waitMs)
        return null
      }
      yield* asker.tellShed
      if (admission._tag === "Dropped") {
        counters.questions_dropped++
        return { _tag: "Dropped" }
      }
      counters.questions_refused++
      return { _tag: "ServerFailure", error: { code: extendedErrorCode.Other, text: "too many questions" } }
    })
  }
}
