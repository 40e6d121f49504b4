/** One machine: its GPUs and CPUs, and who uses them. */
import { Tooltip } from "@mantine/core";
import type { Gpu, Machine, Tenant } from "@/api/types";
import { SimulatedBadge, StateBadge } from "@/common/states";
import { Ago } from "@/common/time";
import { mebibytes, plural } from "@/format/numbers";
import { experimentPage } from "@/format/places";
import css from "./machines.module.css";

export function MachineCard({ machine }: { machine: Machine }) {
  const { available_mib: available, memory_mib: memory } = machine;
  return (
    <section className={css.card} aria-label={machine.hostname}>
      <header className={css.head}>
        <h2 className="mono">{machine.hostname}</h2>
        <span className="soft">{machine.cluster}</span>
      </header>
      <div className={css.meters}>
        <Meter name="CPU ranks" value={machine.cpu_ranks_used} most={machine.cpu_ranks_most} text={`${machine.cpu_ranks_used} of ${machine.cpu_ranks_most}`} />
        {available !== null && (
          <Meter name="Memory" value={memory - available} most={memory} text={`${mebibytes(memory - available)} of ${mebibytes(memory)}`} />
        )}
        <div>
          <div className="soft">CPUs</div>
          <div className="num">{machine.cpus}</div>
        </div>
      </div>
      {machine.gpus.length === 0 ? (
        <p className="soft">No GPUs: what asks for some runs simulated.</p>
      ) : (
        <div className={css.gpus}>
          {machine.gpus.map((gpu) => (
            <GpuCell key={gpu.uuid} gpu={gpu} />
          ))}
        </div>
      )}
      <Tenants tenants={machine.experiments} />
    </section>
  );
}

function Meter({ name, value, most, text }: { name: string; value: number; most: number; text: string }) {
  const part = most === 0 ? 0 : Math.min(1, value / most);
  return (
    <div className={css.meter}>
      <div className="soft">{name}</div>
      <div className="num">{text}</div>
      <span>
        <i style={{ width: `${part * 100}%` }} />
      </span>
    </div>
  );
}

function GpuCell({ gpu }: { gpu: Gpu }) {
  const who = gpu.experiment ?? (gpu.busy ? "used by another program" : "free");
  return (
    <Tooltip label={`${gpu.name}, ${gpu.uuid}${gpu.user ? `, ${gpu.user}` : ""}`}>
      <div className={css.gpu} data-taken={gpu.experiment !== null || Boolean(gpu.busy) || undefined}>
        <span className="soft">
          GPU {gpu.index} · {gpu.name}
        </span>
        {gpu.experiment ? (
          <a className="ellipsis" href={experimentPage(gpu.experiment)}>
            {gpu.experiment}
          </a>
        ) : (
          <span>{who}</span>
        )}
      </div>
    </Tooltip>
  );
}

function Tenants({ tenants }: { tenants: Tenant[] }) {
  if (tenants.length === 0) return <p className="soft">Nothing runs here.</p>;
  return (
    <ul className={css.tenants} aria-label="What runs here">
      {tenants.map((tenant) => (
        <li key={tenant.experiment}>
          <a className="ellipsis" href={experimentPage(tenant.experiment)}>
            {tenant.experiment}
          </a>
          {tenant.simulated && <SimulatedBadge />}
          <StateBadge state={tenant.state} />
          <span className="soft">{tenant.gpus > 0 ? plural(tenant.gpus, "GPU") : plural(tenant.ranks, "rank")}</span>
          <span className="soft">{tenant.user}</span>
          <Ago at={tenant.started_at} />
        </li>
      ))}
    </ul>
  );
}
