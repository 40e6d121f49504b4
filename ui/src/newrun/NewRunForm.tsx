/** Start a run from a link: the form, what the server would do with it, and the button. */
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useLocation } from "wouter";
import { get, post } from "@/api/client";
import type { NewRun } from "@/api/types";
import { useSearchParams } from "@/common/address";
import { Failure, Loading } from "@/common/notices";
import { runPage } from "@/format/places";
import { fromAddress, toAddress } from "./address";
import { EMPTY } from "./fields";
import { MachineFields } from "./MachineFields";
import { MoreFields } from "./MoreFields";
import css from "./newrun.module.css";
import { PlanPanel } from "./PlanPanel";
import { ScriptFields } from "./ScriptFields";
import { SourceFields } from "./SourceFields";
import { usePlan } from "./usePlan";

export interface FormPart {
  form: NewRun;
  change: (change: Partial<NewRun>) => void;
  /** What the server says of a field. */
  problemOf: (...fields: string[]) => string | undefined;
}

/** The form, filled in from the address or from the run that is cloned. */
export default function NewRunForm({ onStarted }: { onStarted: () => void }) {
  const [search] = useSearchParams();
  const clone = search.get("clone");
  const copied = useQuery({
    queryKey: ["new-run", clone],
    queryFn: () => get("runs/{name}/new-run", { path: { name: clone ?? "" } }),
    enabled: clone !== null,
  });
  if (clone !== null && copied.isPending) return <Loading what="the run to clone" />;
  if (copied.error) return <Failure error={copied.error} retry={() => void copied.refetch()} />;
  const base = { ...EMPTY, ...copied.data, ...(clone === null ? {} : { name: null }) };
  return <Form key={clone} base={base} said={fromAddress(search)} onStarted={onStarted} />;
}

interface FormProps {
  base: NewRun;
  /** What the address said when the form opened; later it says what is typed. */
  said: Partial<NewRun>;
  onStarted: () => void;
}

function Form({ base, said, onStarted }: FormProps) {
  const [, navigate] = useLocation();
  const [, setSearch] = useSearchParams();
  const [form, setForm] = useState({ ...base, ...said });
  const [settled] = useDebouncedValue(form, 300);
  useEffect(() => setSearch((now) => toAddress(settled, base, now), { replace: true }), [settled]);
  const [isStarting, setStarting] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const plan = usePlan(form);
  const problem = plan.isStale ? null : plan.answer?.problem;
  const part: FormPart = {
    form,
    change: (change) => setForm((now) => ({ ...now, ...change })),
    problemOf: (...fields) => (problem?.field && fields.includes(problem.field) ? problem.message : undefined),
  };
  const start = async () => {
    setStarting(true);
    setFailure(null);
    try {
      const { run } = await post("new-run", { body: form });
      onStarted();
      navigate(runPage(run));
    } catch (error) {
      setFailure(error);
    } finally {
      setStarting(false);
    }
  };
  return (
    <form
      className={css.form}
      aria-label="New run"
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <div className={css.fields}>
        <SourceFields {...part} link={plan.answer?.link ?? null} />
        <MachineFields {...part} />
        <ScriptFields {...part} />
        <MoreFields {...part} suggestedName={plan.answer?.name} />
      </div>
      <PlanPanel plan={plan} hasSource={Boolean(form.link || form.copy_of)} isStarting={isStarting} failure={failure} />
    </form>
  );
}
