/** What the script is given, and what becomes of lists and distributions in it. */
import { Select, Textarea } from "@mantine/core";
import css from "./newrun.module.css";
import type { FormPart } from "./NewRunForm";
import { NumberField } from "./NumberField";

const STRATEGIES = [
  { value: "grid_search", label: "Grid search: every combination" },
  { value: "random_search", label: "Random search: some of them" },
  { value: "none", label: "None: pass as written" },
];

const FRAMEWORKS = [
  { value: "lightning", label: "Lightning" },
  { value: "torch", label: "PyTorch" },
  { value: "torchelastic", label: "torchelastic" },
  { value: "tensorflow", label: "TensorFlow (one node)" },
  { value: "julia", label: "Julia (one node)" },
];

export function ScriptFields({ form, change, problemOf }: FormPart) {
  return (
    <div className={css.group}>
      <Textarea
        label="Script arguments"
        description="As in a shell. A list is swept: --lr &quot;[0.1, 0.01]&quot;"
        placeholder="--max_epochs 10 --lr &quot;[0.1, 0.01]&quot;"
        value={form.arguments}
        onChange={(event) => change({ arguments: event.currentTarget.value })}
        error={problemOf("arguments")}
        autosize
        minRows={2}
        maxRows={8}
        spellCheck={false}
        classNames={{ input: "mono" }}
      />
      <div className={css.columns}>
        <Select
          label="Search strategy"
          data={STRATEGIES}
          value={form.strategy}
          onChange={(strategy) => strategy !== null && change({ strategy })}
          error={problemOf("strategy")}
          allowDeselect={false}
        />
        <Select
          label="Framework"
          data={FRAMEWORKS}
          value={form.framework}
          onChange={(framework) => framework !== null && change({ framework })}
          error={problemOf("framework")}
          allowDeselect={false}
        />
      </div>
      {form.strategy === "random_search" && (
        <div className={css.columns}>
          <NumberField label="Trials" value={form.num_trials} change={(num_trials) => change({ num_trials })} error={problemOf("num_trials")} min={1} />
          <NumberField
            label="Seed"
            placeholder="chosen when it starts"
            value={form.seed}
            change={(seed) => change({ seed })}
            error={problemOf("seed")}
            min={0}
          />
        </div>
      )}
    </div>
  );
}
