"""Every benchmark, one after the other; each can be run alone, see its own page."""

from tests.bench import bench_film, bench_generator, bench_memory, bench_networks, bench_smart, bench_stages

if __name__ == "__main__":
    for bench in (bench_generator, bench_networks, bench_stages, bench_film, bench_memory, bench_smart):
        print(f"\n== {bench.__name__}")
        bench.main()
