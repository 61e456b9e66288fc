#include <iostream>
#include <thread>

int main()
{
	int n = 0;
	std::thread thread([&] { n = 42; });
	thread.join();
	std::cout << "hello from C++ " << n << "\n";
}
